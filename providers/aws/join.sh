#!/bin/bash
# Makes this machine the node of one claim. Safe to repeat: what it writes is the same again.
set -euo pipefail
umask 077
root=$${AUTONODES_ROOT:-}
metadata=$${AUTONODES_METADATA:-http://169.254.169.254}

session=$$(curl -sfS --retry 10 --retry-connrefused -X PUT "$$metadata/latest/api/token" \
  -H 'X-aws-ec2-metadata-token-ttl-seconds: 3600')
ask() { curl -sfS --retry 5 -H "X-aws-ec2-metadata-token: $$session" "$$metadata/latest/meta-data/$$1"; }

id=$$(ask instance-id) zone=$$(ask placement/availability-zone) type=$$(ask instance-type)
pods=110 cpu=100m memory=1Gi
case $$type in
$sizes
esac

# Which of the claims is it? Whoever bought the machines writes it on them.
mine=0
if [ $count -gt 1 ]; then
  mine=
  for try in $$(seq 900); do
    for key in $$(ask tags/instance | grep '^autonodes:machines-' || true); do
      for word in $$(ask "tags/instance/$$key"); do
        if [ "$${word%%=*}" = "$$id" ]; then mine=$${word#*=}; fi
      done
    done
    if [ -n "$$mine" ]; then break; fi
    sleep 1
  done
  if [ -z "$$mine" ]; then echo "nobody says which claim $$id is for" >&2; exit 1; fi
fi

put() { # PATH MODE fill|keep, the content in base64 on standard input
  mkdir -p -m 755 "$$root$$(dirname "$$1")"
  if [ "$$3" = fill ]; then
    base64 -d | sed -e "s#@PROVIDER_ID@#aws:///$$zone/$$id#g" -e "s#@ZONE@#$$zone#g" -e "s#@INSTANCE_TYPE@#$$type#g" \
      -e "s#@RESERVED_CPU@#$$cpu#g" -e "s#@RESERVED_MEMORY@#$$memory#g" -e "s#$max_pods#$$pods#g" >"$$root$$1"
  else
    base64 -d >"$$root$$1"
  fi
  chmod "$$2" "$$root$$1"
}
$common
case $$mine in
$own
esac

systemctl daemon-reload
systemctl enable --now $units
