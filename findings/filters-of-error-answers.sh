#!/bin/bash
# apache2-bin 2.4.71-1~deb12u1 (mod_substitute, mod_filter, mod_headers), libapr1 1.7.2-3+deb12u1, libaprutil1 1.6.3-1+deb12u1.
# One would expect: AddOutputFilterByType text/html acts on all answers of that type: its documentation names a type and no status.
# What happens: it acts on 200 and not on the same file as the page of an ErrorDocument 404, on which SetOutputFilter acts. A text as
# ErrorDocument and httpd's own pages go through neither, for their content filters are taken away.
# Who is hurt: who adds a banner or a script to all pages, compresses them, or hides something in them by a filter, has it on 200 only,
# and finds nothing in the log.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq apache2-bin=2.4.71-1~deb12u1 libapr1=1.7.2-3+deb12u1 libaprutil1=1.6.3-1+deb12u1 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
chmod 755 .
mkdir htdocs logs
for name in page missing set; do echo "<html><body>$name</body></html>" >htdocs/$name.html; done
{
    echo "ServerRoot $folder"
    for module in mpm_event authz_core mime filter substitute; do
        echo "LoadModule ${module}_module $folder/unpacked/usr/lib/apache2/modules/mod_$module.so"
    done
    cat <<CONF
ServerName localhost
Listen 127.0.0.1:18100
PidFile $folder/logs/pid
ErrorLog $folder/logs/error.log
User nobody
DocumentRoot $folder/htdocs
TypesConfig /dev/null
AddType text/html .html
AddOutputFilterByType SUBSTITUTE text/html
Substitute "s|</body>|<b>banner</b></body>|n"
<Location /file>
    ErrorDocument 404 /missing.html
</Location>
<Location /set>
    ErrorDocument 404 /set.html
</Location>
<Files set.html>
    SetOutputFilter SUBSTITUTE
</Files>
<Location /text>
    ErrorDocument 404 "<html><body>missing</body></html>"
</Location>
CONF
} >httpd.conf
LD_LIBRARY_PATH=$folder/unpacked/usr/lib/x86_64-linux-gnu "$folder/unpacked/usr/sbin/apache2" -f "$folder/httpd.conf"
for _ in $(seq 100); do (: </dev/tcp/127.0.0.1/18100) 2>/dev/null && break || sleep 0.1; done
for path in /page.html /missing.html /file/x /set/x /text/x /own/x; do
    answer=$(curl -s -w '\n%{http_code} %{content_type}' "http://127.0.0.1:18100$path")
    banner=without
    [[ $answer != *"<b>banner</b>"* ]] || banner=with
    echo "$path: $(tail -n 1 <<<"$answer"), $banner banner"
done >out
kill "$(cat logs/pid)"
while [ -e logs/pid ]; do sleep 0.1; done
cat out
diff - out <<'OUT'
/page.html: 200 text/html, with banner
/missing.html: 200 text/html, with banner
/file/x: 404 text/html, without banner
/set/x: 404 text/html, with banner
/text/x: 404 text/html; charset=iso-8859-1, without banner
/own/x: 404 text/html; charset=iso-8859-1, without banner
OUT
