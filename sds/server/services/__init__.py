"""What the admin API's services do (sds.admin.services), over the store. One file a noun."""
