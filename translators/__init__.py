"""Wire formats: each dialect to and from one neutral form. Pure: no network, no files but shipped data, no clock."""
