# The same bytes for every board. A colon in a file name would be a server's address to tftpboot.
echo Muster: asking what ${ethaddr} boots
setenv muster_mac
setexpr muster_mac gsub : - ${ethaddr}
if test -n "${muster_mac}"; then if tftpboot ${scriptaddr} u-boot/${arch}/${cpu}/${muster_mac}.scr.uimg; then source ${scriptaddr}; fi; else pxe get; pxe boot; fi
