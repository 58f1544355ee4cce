# SPDX-License-Identifier: 0BSD
# The worker protocol of srvwrap, in one file to copy.
#
#     my @sockets = Srvwrap::listeners();    # accept on these: wait with poll, and take EAGAIN as "try again"
#     Srvwrap::on_shutdown(\&finish);        # finish() is called once, when srvwrap wants this process to end
#     Srvwrap::online();                     # now srvwrap knows that it serves
#
# Not run by srvwrap, all four do nothing, and listeners() is empty. There is no loop here: what srvwrap writes is read
# when the kernel says by SIGIO that it has come.
package Srvwrap;

use strict;
use warnings;

use Errno;
use Fcntl qw(F_SETFD F_SETFL F_SETOWN FD_CLOEXEC O_ASYNC);
use IO::Socket;
use Socket qw(MSG_DONTWAIT SO_ACCEPTCONN SOL_SOCKET);

my ($notice, @listeners, $finish, $owner);
my $received = '';

# Says that connections are accepted.
sub online {
    _say('online');
}

# Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask.
sub offline {
    my ($why) = @_;
    _say(join ' ', 'offline', split ' ', $why // '');
}

# Has the code called once, on the line from srvwrap, SIGTERM or SIGINT.
#
# It is called between any two of the program's instructions: let it only wake or mark something. It is to lead to this:
# close the listeners, answer for half a second with `Connection: close`, close what is idle, exit.
#
# Returned is a socket, or nothing. Where the program waits, let it wait for this one too, and do nothing with it: Perl
# may sleep over a signal that comes just before a wait, and over what there is to read it cannot.
sub on_shutdown {
    ($finish, $owner) = ($_[0], 0 + $$);    # a number: $$ that nobody has read is text to fcntl
    return unless $notice;
    $SIG{$_} = \&_told for qw(TERM INT);
    $SIG{IO} = \&_look;
    fcntl $notice, F_SETOWN, $owner;
    fcntl $notice, F_SETFL, O_ASYNC;
    _look();    # what came before that gave no signal
    return $notice;
}

# The listening sockets, in the operator's order: IO::Socket, non-blocking, since other workers accept on them too.
# Never call shutdown on one, it stops the socket for all workers; close ends this one's part.
sub listeners {
    while ($notice && exists $ENV{ 'LISTEN_FD_' . @listeners }) {
        my $variable = 'LISTEN_FD_' . @listeners;
        my $listener = _inherited($variable);
        _is_lost($variable, 'listening socket') unless $listener->sockopt(SO_ACCEPTCONN);
        $listener->blocking(0);
        push @listeners, $listener;
    }
    return @listeners;
}

sub _say {
    my ($line) = @_;
    return unless $notice;
    $line .= "\n";
    utf8::encode($line) if utf8::is_utf8($line);
    local $SIG{PIPE} = 'IGNORE';
    while (length $line) {
        my $count = syswrite $notice, $line;
        return unless $count || $!{EINTR};    # srvwrap is gone, and this process will be killed
        substr($line, 0, $count // 0, '');
    }
}

sub _look {
    local $!;    # of what it has interrupted
    while (defined recv $notice, my $chunk, 4096, MSG_DONTWAIT) {
        $received .= $chunk;
        return _told() if $chunk eq '' || $received =~ /^"shutdown"\r?\n/m;
        $received =~ s/.*\n//s;
    }
    _told() unless $!{EAGAIN} || $!{EINTR};
}

sub _told {
    my ($signal) = @_;
    if ($signal && $$ != $owner) {    # a child by fork, which ends as it would by itself
        $SIG{$signal} = 'DEFAULT';
        return kill $signal => $$;
    }
    my $code = $finish or return;
    undef $finish;
    local $!;
    fcntl $notice, F_SETFL, 0;    # nothing more is awaited
    $code->();
}

# The socket whose number is in this variable, kept from children. Its absence is a mistake to be told at once.
sub _inherited {
    my ($variable) = @_;
    my $socket = $ENV{$variable} =~ /\A\d+\z/ ? IO::Socket->new_from_fd($ENV{$variable}, '+<') : undef;
    _is_lost($variable, 'open socket') unless $socket && -S $socket;
    fcntl $socket, F_SETFD, FD_CLOEXEC;
    return $socket;
}

sub _is_lost {
    my ($variable, $kind) = @_;
    print STDERR "$variable=$ENV{$variable} is no $kind: what stands between srvwrap and this program has closed it, ",
        "or this is a child that was given the variable without the descriptor\n";
    exit 1;
}

$notice = _inherited('NOTIFY_FD') if exists $ENV{NOTIFY_FD};

1;
