"""What a user hands in: manifests, nnU-Net and Decathlon folders, their cases, harmonised and checked."""
