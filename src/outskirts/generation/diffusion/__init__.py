"""A diffusion model at work: its training, embeddings of images, and images of embeddings."""
