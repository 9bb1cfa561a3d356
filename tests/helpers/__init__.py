"""What several tests share: reference numbers, small models, painted data, commands."""
