"""Words for networks: tokenisers and text towers, for every wing that reads."""
