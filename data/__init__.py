"""What came in: contracts, quarantine, storage, the simulated portfolio, adapters of public data sets."""
