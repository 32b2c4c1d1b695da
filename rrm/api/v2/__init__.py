"""The v2 API: one file per noun, serializers beside their views. Its contract is `docs/reference/api.md`."""
