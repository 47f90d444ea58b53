"""The window: shows a run, live or recorded, and can never slow it down."""
