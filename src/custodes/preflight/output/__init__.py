"""Reports: table, page, decoded rows."""
