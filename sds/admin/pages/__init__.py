"""The pages of the admin API: HTML made here, for people with a browser. No page knows more than the API tells it."""
