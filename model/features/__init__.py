"""Stage one's networks: two frozen ResNet101 trunks and ConvFusion."""
