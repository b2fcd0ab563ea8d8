"""ROOT files edited byte by byte: records are copied as they lie, trees and RNTuples taken apart and put together."""
