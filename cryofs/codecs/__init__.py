"""How pixels become bytes and back: encoders and decoders of TIFF strips."""
