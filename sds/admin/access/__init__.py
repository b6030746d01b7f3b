"""Who may do what in the admin API. Pure; who a caller is, is found out by `sds.admin.login`."""
