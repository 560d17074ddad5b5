"""What we do: policy, decision, attribution, ledger."""
