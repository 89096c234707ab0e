echo Muster: {{message}}
setenv bootargs {{arguments}}
setenv muster_fdt ${fdtcontroladdr}
if test -n "${fdt_addr}"; then setenv muster_fdt ${fdt_addr}; fi
{{deviceTree}}
until tftpboot ${kernel_addr_r} {{kernel}}{{ipv6}}; do echo Muster: {{kernel}} could not be loaded - trying again in 10 seconds; sleep 10; done
{{initrd}}
{{boot}}
echo Muster: U-Boot could not start the kernel - restarting in 10 seconds
sleep 10
reset
