# enter.pl ROOT [NAME=VALUE…] -- PROGRAM [ARGUMENT…]: chroot, then give up what chroot took, then become the program. With the
# right to chroot a process of root's gets out of one again. In Perl, as setpriv would have to be in the image to run after it.
use strict;
use warnings;

my $PR_CAPBSET_DROP = 24;
my $CAP_SETPCAP = 8;
my $CAP_SYS_CHROOT = 18;
my %PRCTL = (x86_64 => 157, aarch64 => 167, ppc64le => 171, s390x => 172, riscv64 => 167);

sub give_up {
    print STDERR "enter: $_[0]\n";
    exit 126;
}

my $root = shift @ARGV;
my %environment;
while (defined(my $word = shift @ARGV)) {
    last if $word eq '--';
    my ($name, $value) = split /=/, $word, 2;
    $environment{$name} = $value;
}
chomp(my $machine = `uname -m`);
my $prctl = $PRCTL{$machine} or give_up("the number of prctl is not known on $machine");
chroot $root and chdir '/' or give_up("$root: $!");
for my $capability ($CAP_SYS_CHROOT, $CAP_SETPCAP) {
    syscall($prctl, $PR_CAPBSET_DROP, $capability, 0, 0, 0) == 0 or give_up("capability $capability is not given up: $!");
}
%ENV = %environment;
{ no warnings; exec { $ARGV[0] } @ARGV; }
give_up("$ARGV[0]: $!");
