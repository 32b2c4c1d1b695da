"""What is brought to a site so that renderers run there, and how it is put in place.

`contents` says what belongs to it, `pins` and `wheels` where it comes from when the Python there is another, `pythons`
which Python is taken, `stream` how it travels. `probe`, `installer` and `receiving` run at the site, on whatever Python
it has; nothing else here does.
"""
