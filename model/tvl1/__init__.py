"""TV-L1 optical flow: OpenCV's own, and faster engines that answer to it."""
