# The same bytes for every board. To tftpboot a colon in a file name ends the address of a server.
echo Muster: asking what ${ethaddr} boots
setenv muster_mac
setexpr muster_mac gsub : - ${ethaddr}
if test -n "${muster_mac}"; then if tftpboot ${scriptaddr} u-boot/${arch}/${cpu}/${muster_mac}.scr.uimg{{ipv6}}; then source ${scriptaddr}; fi; else pxe get{{ipv6}}; pxe boot{{ipv6}}; fi
