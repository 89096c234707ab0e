echo Muster: {{reason}}
echo Muster: going on to the next boot device
