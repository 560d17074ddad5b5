"""What was known: consumption, payment and device events become one point-in-time table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
