#!/bin/sh
# Chromium in the network of the test host whose PID 1 is $TLJH_TEST_HOST_PID. In the machine's own, it would break all its
# connections (ERR_NETWORK_CHANGED) whenever another test boots a host and so plugs in a cable.
exec nsenter --net="/proc/$TLJH_TEST_HOST_PID/ns/net" -- /usr/bin/chromium "$@"
