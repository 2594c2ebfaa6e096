"""What a network is fed: cases kept at working spacing, and augmented patches of them."""
