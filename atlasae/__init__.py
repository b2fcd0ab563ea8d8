"""Jets of four variables in three floats and back, each jet within a promised precision."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
