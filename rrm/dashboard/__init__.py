"""The pages people watch: templates and static assets; everything that moves comes from the API."""
