"""How long those wait who open the admin API and its pages on a database that has grown."""
