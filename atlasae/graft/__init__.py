"""ROOT files edited byte by byte: records are copied as they lie, TTree objects are taken apart and put together."""
