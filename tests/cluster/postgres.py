"""PostgreSQL as the compose file's service, from Debian's package."""

from __future__ import annotations

import pwd
from pathlib import Path

from network import Network
from stack import COMPOSE, SYSTEM, Container

#: Where the package keeps the programs.
_POSTGRESQL = Path("/usr/lib/postgresql")


class Postgres(Container):
    """PostgreSQL from Debian's package: the image's entry point is not here, what it does is."""

    def __init__(
        self, network: Network, folder: Path, service: str, name: str, image: Path | None = None
    ):
        super().__init__(network, folder, service, name)
        self._bin = max(_POSTGRESQL.glob("*/bin"))
        self.environment["PATH"] = f"{self._bin}:{SYSTEM}"

    def _command(self) -> list[str]:
        script = """
        data=/var/lib/postgresql/data
        if [ ! -s $data/PG_VERSION ]; then
            initdb -D $data -U orch --pwfile=/run/secrets/PGPASSWORD --auth-local=trust \\
                --auth-host=scram-sha-256
            echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
            pg_ctl -D $data -w -o "-k /tmp -c listen_addresses=''" start
            echo "$1" | psql -h /tmp -U orch -d postgres -v ON_ERROR_STOP=1
            pg_ctl -D $data -w stop
        fi
        exec postgres -D $data -k /tmp -c listen_addresses='*'
        """
        databases = (COMPOSE.parent / "postgres" / "databases.sql").read_text()
        return ["sh", "-ec", script, "postgres", databases]

    def _mounts(self) -> list[str]:
        return [line for line in super()._mounts() if "docker-entrypoint-initdb.d" not in line]

    def _owner(self) -> tuple[int, int]:
        user = pwd.getpwnam("postgres")
        return user.pw_uid, user.pw_gid
