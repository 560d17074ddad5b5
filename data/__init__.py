"""What came in: contracts, quarantine, storage, the simulated portfolio, mappings of other data."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
