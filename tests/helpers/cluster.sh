#!/usr/bin/env bash
# cluster.sh start|stop DIR : a real Slurm on this machine, for the tests (root; Debian 12, Ubuntu 22.04 or later).
# munge, MariaDB, slurmdbd, slurmctld and four slurmd with two fake GPUs each, all on loopback, all state in DIR.
# Outside DIR: Debian's packages, and the links /etc/slurm/{slurm,gres}.conf (a job's srun looks there).
# `start` installs and starts what is missing and returns when every node is idle. `stop` ends what DIR/run names.
# SLURM_TB_DBD=0: without accounting.
set -euo pipefail
ACTION=${1:?usage: cluster.sh start|stop DIR} STATE=${2:?usage: cluster.sh start|stop DIR}
mkdir -p "$STATE"; STATE=$(cd "$STATE" && pwd -P)
NODES=4 GPUS=2 GTYPE=h100 CPUS=8 MEM=16000 PORT=6817 DBD=${SLURM_TB_DBD:-1}
say() { printf '%s\n' "$*" >&2; }
die() { say "cluster.sh: $*"; exit 1; }
[ "$(id -u)" = 0 ] || die "run as root: slurmd starts jobs as their owners"
# alive NAME PIDFILE: is the process in PIDFILE ours and running?
alive() { local p; p=$(cat "$2" 2>/dev/null) && [ -n "$p" ] && [ -r "/proc/$p/comm" ] && [[ "$(cat "/proc/$p/comm")" == "$1"* ]]; }
# until_ok SECONDS WHAT COMMAND...
until_ok() { local s=$1 w=$2; shift 2; local e=$((SECONDS+s)); until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $e ] || die "$w: not ready after ${s}s (see $STATE/log)"; sleep 0.2; done; }

stop_one() { # stop_one NAME PIDFILE
  alive "$1" "$2" || { rm -f "$2"; return 0; }
  local p; p=$(cat "$2")
  kill "$p" 2>/dev/null || true
  for _ in $(seq 1 100); do [ -d "/proc/$p" ] || { rm -f "$2"; return 0; }; sleep 0.1; done
  kill -9 "$p" 2>/dev/null || true
  rm -f "$2"
}
if [ "$ACTION" = stop ]; then
  [ -f "$STATE/etc/slurm.conf" ] || die "$STATE holds no cluster"
  if timeout 5 scontrol ping >/dev/null 2>&1; then
    timeout 20 scancel --quiet --state=PENDING || true
    timeout 20 scancel --quiet --user=root || true
    for _ in $(seq 1 50); do [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break; sleep 0.3; done
  fi
  for f in "$STATE"/run/slurmd-*.pid; do [ -e "$f" ] && stop_one slurmd "$f"; done
  for d in slurmctld slurmdbd mariadbd munged; do stop_one "$d" "$STATE/run/$d.pid"; done
  for f in slurm.conf gres.conf; do [ "$(readlink "/etc/slurm/$f" 2>/dev/null)" = "$STATE/etc/$f" ] && rm -f "/etc/slurm/$f"; done
  exit 0
fi
[ "$ACTION" = start ] || die "expected start or stop, found $ACTION"

# ---- 1. packages (no service is started by dpkg: we start our own daemons) -----------------
PKGS=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)
[ "$DBD" = 1 ] && PKGS+=(slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core)
MISSING=()
for p in "${PKGS[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null)" = "ii " ] || MISSING+=("$p")
done
if [ ${#MISSING[@]} -gt 0 ]; then
  say "installing: ${MISSING[*]}"
  MADE_POLICY=0
  if [ ! -e /usr/sbin/policy-rc.d ]; then            # keep dpkg from starting the services
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; MADE_POLICY=1
  fi
  mkdir -p "$STATE/log"
  { DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${MISSING[@]}"; } \
    > "$STATE/log/apt.log" 2>&1 || { tail -20 "$STATE/log/apt.log" >&2; [ $MADE_POLICY = 1 ] && rm -f /usr/sbin/policy-rc.d; die "apt failed"; }
  if [ $MADE_POLICY = 1 ]; then rm -f /usr/sbin/policy-rc.d; fi
fi
say "packages present ($(slurmctld -V))"

# ---- 2. configuration ---------------------------------------------------------------------
for f in slurm.conf gres.conf; do
  l=/etc/slurm/$f
  if [ -e "$l" ] && [ ! -L "$l" ]; then die "$l is a real file: this machine has a Slurm of its own"; fi
done
mkdir -p "$STATE"/{etc,log,run,ctld,spool,dev,munge,mysql}
chmod 700 "$STATE/munge"
HOST=$(hostname -s)
if [ ! -s "$STATE/munge/munge.key" ]; then
  ( umask 077; head -c 1024 /dev/urandom > "$STATE/munge/munge.key" )
fi
# the socket's folder has to be reachable by every user that submits
mkdir -p "$STATE/munge-run"; chmod 755 "$STATE/munge-run"
# fake GPUs: copies of /dev/null. slurmd wants a character device behind File=, and only with File=
# does it hand each job its own CUDA_VISIBLE_DEVICES. Where mknod is not allowed: a bare count.
GFILE=" File=$STATE/dev/nvidia[0-$((GPUS-1))]"
for i in $(seq 0 $((GPUS-1))); do
  [ -c "$STATE/dev/nvidia$i" ] || { rm -f "$STATE/dev/nvidia$i"; mknod -m 666 "$STATE/dev/nvidia$i" c 1 3 2>/dev/null || GFILE=" Count=$GPUS"; }
done

if [ "$DBD" = 1 ]; then
  cat > "$STATE/etc/slurmdbd.conf" <<C
AuthType=auth/munge
AuthInfo=socket=$STATE/munge-run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT+2))
SlurmUser=root
LogFile=$STATE/log/slurmdbd.log
PidFile=$STATE/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT+3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
C
  chmod 600 "$STATE/etc/slurmdbd.conf"
  ACCT="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT+2))
AccountingStoragePass=$STATE/munge-run/munge.socket
AccountingStoreFlags=job_comment
AccountingStorageTRES=gres/gpu,gres/gpu:$GTYPE"
else
  ACCT="AccountingStorageType=accounting_storage/none"
fi
GRES=""; [ "$GPUS" -gt 0 ] && GRES="Gres=gpu:$GTYPE:$GPUS"
cat > "$STATE/etc/slurm.conf" <<C
# written by cluster.sh
ClusterName=testbed
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT+1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge-run/munge.socket
CredType=cred/munge
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$STATE/run/slurmctld.pid
SlurmdPidFile=$STATE/run/slurmd-%n.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd-%n.log
# no cgroups, no binding: the nodes are virtual and over-declared
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=0
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MaxJobCount=20000
MaxArraySize=1001
MinJobAge=300
KillWait=5
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=20
ReturnToService=2
$ACCT
NodeName=node[1-$NODES] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[$((PORT+101))-$((PORT+100+NODES))] CPUs=$CPUS RealMemory=$MEM $GRES State=UNKNOWN
PartitionName=gpu   Nodes=ALL Default=YES MaxTime=24:00:00 DefaultTime=60 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=cpu   Nodes=ALL MaxTime=24:00:00 DefaultTime=60 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=spot  Nodes=ALL MaxTime=24:00:00 DefaultTime=60 PriorityTier=1  PreemptMode=REQUEUE State=UP
PartitionName=short Nodes=ALL MaxTime=2 DefaultTime=1 PriorityTier=10 PreemptMode=OFF State=UP
C
: > "$STATE/etc/gres.conf"
if [ "$GPUS" -gt 0 ]; then
  echo "AutoDetect=off" >> "$STATE/etc/gres.conf"
  for n in $(seq 1 "$NODES"); do
    echo "NodeName=node$n Name=gpu Type=$GTYPE$GFILE" >> "$STATE/etc/gres.conf"
  done
fi
mkdir -p /etc/slurm
for f in slurm.conf gres.conf; do ln -sfn "$STATE/etc/$f" "/etc/slurm/$f"; done

# ---- 3. daemons ---------------------------------------------------------------------------

if ! alive munged "$STATE/run/munged.pid"; then
  munged --force --key-file="$STATE/munge/munge.key" --socket="$STATE/munge-run/munge.socket" \
    --pid-file="$STATE/run/munged.pid" --log-file="$STATE/log/munged.log" --seed-file="$STATE/munge/munge.seed"
fi
until_ok 20 munged sh -c "munge -n -S '$STATE/munge-run/munge.socket' | unmunge -S '$STATE/munge-run/munge.socket'"
say "munged up"

if [ "$DBD" = 1 ]; then
  if [ ! -d "$STATE/mysql/data/mysql" ]; then
    mariadb-install-db --no-defaults --user=root --datadir="$STATE/mysql/data" \
      --auth-root-authentication-method=socket --skip-test-db > "$STATE/log/mariadb-install.log" 2>&1
  fi
  if ! alive mariadbd "$STATE/run/mariadbd.pid"; then
    setsid nohup mariadbd --no-defaults --user=root --datadir="$STATE/mysql/data" \
      --socket="$STATE/mysql/mysql.sock" --bind-address=127.0.0.1 --port=$((PORT+3)) \
      --pid-file="$STATE/run/mariadbd.pid" --innodb-buffer-pool-size=128M --innodb-log-file-size=32M \
      --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 \
      > "$STATE/log/mariadbd.log" 2>&1 < /dev/null &
  fi
  SQL=(mariadb --no-defaults --user=root --socket="$STATE/mysql/mysql.sock")
  until_ok 60 mariadbd "${SQL[@]}" -e 'select 1'
  "${SQL[@]}" -e "create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm'; create user if not exists 'slurm'@'localhost' identified by 'slurm';
    create database if not exists slurm_acct_db; grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1'; grant all on slurm_acct_db.* to 'slurm'@'localhost';"
  say "mariadbd up"
  if ! alive slurmdbd "$STATE/run/slurmdbd.pid"; then
    SLURM_CONF="$STATE/etc/slurm.conf" slurmdbd
  fi
  until_ok 60 slurmdbd sacctmgr -n list cluster
  if [ -z "$(sacctmgr -n list cluster testbed format=cluster)" ]; then sacctmgr -i -Q add cluster testbed >/dev/null; fi
  [ -n "$(sacctmgr -n list account bench format=account)" ] || sacctmgr -i -Q add account bench Cluster=testbed >/dev/null
  for u in root; do
    [ -n "$(sacctmgr -n list assoc user="$u" account=bench format=user)" ] || sacctmgr -i -Q add user "$u" Account=bench DefaultAccount=bench >/dev/null
    [ "$(sacctmgr -n -P list user "$u" format=defaultaccount)" = bench ] || sacctmgr -i -Q modify user "$u" set DefaultAccount=bench >/dev/null
  done
  say "slurmdbd up, cluster and account registered"
fi

if alive slurmctld "$STATE/run/slurmctld.pid"; then scontrol reconfigure || true
else slurmctld -f "$STATE/etc/slurm.conf"; fi
until_ok 30 slurmctld scontrol ping
for n in $(seq 1 "$NODES"); do
  alive slurmd "$STATE/run/slurmd-node$n.pid" || slurmd -f "$STATE/etc/slurm.conf" -N "node$n"
done
say "slurmctld and $NODES slurmd started"

# ---- 4. wait until every node can take work -----------------------------------------------
ready() { [ "$(sinfo -h -N -p gpu -o '%N %T' | awk '$2=="idle"||$2=="mixed"||$2=="allocated"' | wc -l)" = "$NODES" ]; }
E=$((SECONDS+60))
until ready; do
  [ $SECONDS -lt $E ] || { sinfo -N -l >&2; sinfo -R >&2; die "nodes not idle after 60s"; }
  if sinfo -h -N -o '%T' | grep -qiE 'down|drain|fail'; then scontrol update NodeName="node[1-$NODES]" State=RESUME 2>/dev/null || true; fi
  sleep 0.3
done
# a real job through the whole path, with the GPU it asked for (skipped when the cluster is busy)
if [ -z "$(squeue -h)" ]; then
  G=(); [ "$GPUS" -gt 0 ] && G=(--gpus=1)
  OUT=$(timeout 60 srun -N1 -n1 -t 1 --mem=50 "${G[@]}" sh -c 'echo ok $SLURMD_NODENAME gpus=$CUDA_VISIBLE_DEVICES') || die "smoke job failed"
  say "smoke job: $OUT"
fi
say "ready: $(sinfo -h -p gpu -o '%D nodes %T %G')"
