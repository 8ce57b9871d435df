"""The questions that `doctor` asks, each a function from a node to a finding. None changes or sends anything."""
