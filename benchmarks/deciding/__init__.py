"""The rule itself: how quickly it decides for a whole farm, and what its parts are worth."""
