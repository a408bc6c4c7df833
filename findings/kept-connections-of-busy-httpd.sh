#!/bin/bash
# apache2-bin 2.4.71-1~deb12u1 (event MPM, no module of others), libapr1 1.7.2-3+deb12u1, libaprutil1 1.6.3-1+deb12u1.
# One would expect: the event MPM keeps thousands of idle connections, so a request that comes on one of them is answered, after a
# moment in line where all threads are busy; its manual says that it closes *idle* ones when it is short of threads.
# What happens: requests that were sent already are lost. Of 400 visitors who all have a kept connection and click at the same time
# many find it closed, without an answer and without an error in the log, though each answer takes microseconds; with a thread for
# each of them all are answered.
# Who is hurt: programs with pools of connections (proxies, fetch of another server, load tests), which must not send a POST again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq apache2-bin=2.4.71-1~deb12u1 libapr1=1.7.2-3+deb12u1 libaprutil1=1.6.3-1+deb12u1 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
chmod 755 .
mkdir htdocs logs

echo hello >htdocs/hello.txt
chmod 777 logs

# Starts an httpd of so many threads, and counts the answers of 400 visitors who have asked once each.
count() {
    local threads=$1 port=$2
    cat >httpd.conf <<CONF
ServerRoot $folder
ServerName localhost
Listen 127.0.0.1:$port
PidFile $folder/logs/pid
ErrorLog $folder/logs/error.log
LoadModule mpm_event_module $folder/unpacked/usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module $folder/unpacked/usr/lib/apache2/modules/mod_authz_core.so
User nobody
DocumentRoot $folder/htdocs
ServerLimit 1
StartServers 1
ThreadLimit $threads
ThreadsPerChild $threads
MaxRequestWorkers $threads
AsyncRequestWorkerFactor 500
MinSpareThreads 1
MaxSpareThreads $((threads * 2))
KeepAliveTimeout 60
CONF
    LD_LIBRARY_PATH=$folder/unpacked/usr/lib/x86_64-linux-gnu "$folder/unpacked/usr/sbin/apache2" -f "$folder/httpd.conf"
    for _ in $(seq 100); do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break || sleep 0.1; done
    python3 - "$port" <<'PYTHON'
import socket, sys

request = b"GET /hello.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
visitors = []
for _ in range(400):
    visitor = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    visitor.sendall(request)
    assert b"hello" in visitor.recv(65536)
    visitors.append(visitor)
# All of them are idle now, and kept. Each asks once more.
for visitor in visitors:
    try:
        visitor.sendall(request)
    except OSError:
        pass
answered = 0
for visitor in visitors:
    visitor.settimeout(10)
    try:
        answered += b"hello" in visitor.recv(65536)
    except OSError:
        pass
print(answered)
PYTHON
    kill "$(cat logs/pid)"
    while [ -e logs/pid ]; do sleep 0.1; done
}

# Whatever a run takes, several of them lose some.
few=400
for run in 1 2 3; do
    answered=$(count 25 $((18080 + run)))
    echo "25 threads: $answered of 400 answered"
    [ "$answered" -ge "$few" ] || few=$answered
done
many=$(count 400 18090)
echo "400 threads: $many of 400 answered"
grep -i 'error\]' logs/error.log || echo "nothing in the error log"
[ "$few" -lt 400 ] && [ "$many" -eq 400 ]
