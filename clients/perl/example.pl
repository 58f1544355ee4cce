#!/usr/bin/perl
# SPDX-License-Identifier: 0BSD
# The example server: HTTP/1.1 with keep-alive, all connections in one loop, replaced without a lost request.
#
#     GET /          pid, slot and generation
#     GET /slow      the same, 300 ms later
#     GET /offline   the same; then this process asks to be replaced, finishes and exits
#
# Run by srvwrap it serves on what it is given, else on 127.0.0.1, port $PORT or 8000.
#
# What was measured: a server that closes idle keep-alive connections at once on shutdown cuts 42 to 112 requests in 15
# deploys under load; one that goes on answering for half a second, each answer with `Connection: close`, cuts none.

use strict;
use warnings;

use FindBin;
use IO::Poll qw(POLLIN);
use IO::Socket::INET;
use List::Util qw(max min);
use Time::HiRes qw(CLOCK_MONOTONIC clock_gettime);

use lib $FindBin::Bin;
use Srvwrap;

use constant { DRAIN_S => 0.5, SLOW_S => 0.3 };

my $BODY = join(' ', $$, $ENV{SRVWRAP_SLOT} // '-', $ENV{SRVWRAP_GENERATION} // '-') . "\n";

my $drain_until;

# The first becomes readable when the second is closed, which a loop that is just about to wait cannot miss.
pipe my $told, my $tell or die "pipe: $!";

# By number: handle, what was received, and `due`, the time at which the answer under way is to be given.
my %connections;

$SIG{PIPE} = 'IGNORE';
main();

sub main {
    my @listeners = Srvwrap::listeners();
    @listeners = (listen_by_ourselves()) unless @listeners;
    my $notice = Srvwrap::on_shutdown(\&drain);
    Srvwrap::online();
    turn(\@listeners, $told, $notice // ()) until $drain_until;
    # Never shutdown, which would stop the socket for the other workers: what waits in its queue is theirs.
    close $_ for @listeners;
    while (%connections) {
        my $is_over = now() >= $drain_until;
        turn([]);
        delete @connections{ grep { !defined $connections{$_}{due} } keys %connections } if $is_over;
    }
}

sub listen_by_ourselves {
    my $port = $ENV{PORT} // 8000;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 511, ReuseAddr => 1)
        or die "127.0.0.1:$port: $!\n";
    $listener->blocking(0);
    return $listener;
}

sub drain {
    return if $drain_until;
    $drain_until = now() + DRAIN_S;
    close $tell;
}

# Waits for these and for the connections, and does what there is to do.
sub turn {
    my ($listeners, @wakers) = @_;
    my @waiting = grep { !defined $_->{due} } values %connections;
    my @times = map { $_->{due} // () } values %connections;
    push @times, $drain_until if $drain_until && @waiting;
    my $poll = IO::Poll->new;
    $poll->mask($_ => POLLIN) for @$listeners, @wakers, map { $_->{handle} } @waiting;
    $poll->poll(@times ? max(0, min(@times) - now()) : ());
    accept_from($_) for grep { $poll->events($_) } @$listeners;
    receive($_) for grep { $poll->events($_->{handle}) } @waiting;
    give_what_is_due();
}

sub accept_from {
    my ($listener) = @_;
    # Nothing where another worker was faster, or the client has gone.
    my $handle = $listener->accept or return;
    $handle->blocking(0);
    $connections{ fileno $handle } = { handle => $handle, received => '' };
}

sub receive {
    my ($connection) = @_;
    my $count = sysread $connection->{handle}, $connection->{received}, 65536, length $connection->{received};
    return if !defined $count && ($!{EAGAIN} || $!{EINTR});
    $count ? go_on($connection) : let_go($connection);
}

# Answers what has come, up to a request that takes time.
sub go_on {
    my ($connection) = @_;
    while ($connection->{received} =~ s/\A(.*?)\r\n\r\n//s) {
        $connection->{head} = $1;
        return $connection->{due} = now() + SLOW_S if path_of($connection) eq '/slow';
        answer($connection) or return let_go($connection);
    }
}

sub give_what_is_due {
    for my $connection (grep { defined $_->{due} && $_->{due} <= now() } values %connections) {
        delete $connection->{due};
        answer($connection) ? go_on($connection) : let_go($connection);
    }
}

# Answers one request. False where it was the last of its connection.
sub answer {
    my ($connection) = @_;
    my $is_last = $drain_until || $connection->{head} =~ /\r\nconnection: close/i;
    my @fields = ('HTTP/1.1 200 OK', 'Content-Type: text/plain', 'Content-Length: ' . length $BODY);
    push @fields, 'Connection: close' if $is_last;
    my $answer = join("\r\n", @fields) . "\r\n\r\n$BODY";
    my $count = syswrite $connection->{handle}, $answer;
    if (path_of($connection) eq '/offline') {
        Srvwrap::offline('asked to');
        drain();
    }
    # Nor does one go on whose client has gone, or reads nothing.
    return !$is_last && ($count // 0) == length $answer;
}

sub path_of {
    my ($connection) = @_;
    return (split ' ', $connection->{head}, 3)[1] // '/';
}

sub let_go {
    my ($connection) = @_;
    delete $connections{ fileno $connection->{handle} };
}

sub now {
    return clock_gettime(CLOCK_MONOTONIC);
}
