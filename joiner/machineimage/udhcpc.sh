#!/bin/sh
# Called by udhcpc with what it was told.
case $1 in
  bound | renew)
    ip addr replace "$ip/$mask" dev "$interface"
    ip link set "$interface" up
    for address in $router; do ip route replace default via "$address" dev "$interface"; done
    : >/etc/resolv.conf.new
    [ -z "$domain" ] || echo "search $domain" >>/etc/resolv.conf.new
    for address in $dns; do echo "nameserver $address" >>/etc/resolv.conf.new; done
    mv /etc/resolv.conf.new /etc/resolv.conf
    ;;
  deconfig) ip link set "$interface" up ;;
esac
