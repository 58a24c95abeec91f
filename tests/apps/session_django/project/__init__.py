"""MySQL and MariaDB by the driver that needs no compiler, under the name and number that Django asks for."""

import pymysql

pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()
