"""The simulated portfolio: a world whose truth is known, the ground on which every answer can be proved.

Customers have a latent quality, an income and a stress that move by the month; what they buy, pay and sign in from
follows from that state and from planted causes, never from a label. Every random number belongs to one customer,
one month and one purpose, so a cause, or an action of the lender, can be taken out at its root and everything else
stays as it was.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
