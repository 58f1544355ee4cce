# A PSGI application. It knows srvwrap by one line: every process of Starlet loads it before it accepts.
use strict;
use warnings;

open(my $notice, '>&=', $ENV{NOTIFY_FD}) or die "NOTIFY_FD: $!";
syswrite($notice, "online\n");

my $body = "$$ $ENV{SRVWRAP_SLOT} $ENV{SRVWRAP_GENERATION}\n";
sub {
    my ($asked) = @_;
    select(undef, undef, undef, 0.3) if $asked->{PATH_INFO} eq '/slow';
    [200, ['Content-Length' => length $body], [$body]];
};
