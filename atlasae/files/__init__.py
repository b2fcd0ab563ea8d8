"""Files of any content: ROOT files, tables, remote files, checksums and safe output."""
