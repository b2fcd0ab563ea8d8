from hypothesis import settings

# A network on a busy machine can take longer over one example than hypothesis allows.
settings.register_profile("atlasae", deadline=None)
settings.load_profile("atlasae")
