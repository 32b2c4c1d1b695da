"""The Mandelbrot renderer: kernel, colours and encoders. Numbers in, bytes out; it knows no network."""
