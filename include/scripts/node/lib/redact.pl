# Takes secrets out of text that leaves the node: standard input to standard output. Better a harmless value lost than a
# secret sent; but what explains a failure has to stay: names, paths of files, and sentences about tokens.
# perl-base is essential in Debian and Ubuntu; nothing beyond it is used. Each pattern is linear (possessive where it
# repeats), and a longer line than LONGEST is cut.
use strict;
use warnings;

use constant REDACTED  => '[REDACTED]';
use constant LONGEST   => 65536;
use constant KEY_LINES => 250;            # of a private key without its end; RSA with 16384 bits has 200

use constant JOINED    => 262144;         # of a record that the container runtime split
use constant ENTRY     => 60;             # lines between the name and the value of one entry of a list

# What a name ends with when its value is secret. Literals only: Perl looks for all of them at once.
my @words = (qw(password passwd passphrase passcode _pass -pass _pwd -pwd _pw -pw secret token creds credential),
    qw(client-key-data clientkeydata client_key_data requirepass masterauth client_assertion sessionid),
    map { my $of = $_; map { "$of$_" } qw(key _key -key) } qw(api access accesskey secret private encryption certificate signing account shared preshared));
push @words, map { ("access${_}key${_}id") } '', '_', '-';
my $literal = join '|', map { quotemeta } sort { length $b <=> length $a || $a cmp $b } @words;
my $word    = qr/(?aai:(?:$literal)(?:s(?![a-z])|[-_]?value(?![a-z])|_hash)?)/;
my $ends    = join '|', map { "(?<=$_)" } map { my $of = quotemeta; ($of, "${of}s") } @words;
$ends = qr/(?aai:$ends)/;                     # for a name that a possessive pattern has read already
my $short = qr/(?<![A-Za-z])(?:pass|pwd|pw|psk)/i;    # such a name, when it is the whole name
my $env_word = qr/(?aai:$literal|_key|apikey)/;         # in the name of an environment variable
my $env_end  = qr/[-_.](?:files?|ttl|expiration|auth|urls?|paths?|dir|config|enabled|timeout|interval|period|names?|namespace|hash(?:es)?)\z/i;

# Values: in double quotes, in escaped ones (JSON inside of JSON), in single ones, bare. Punctuation in the middle of a bare
# value is part of it, unless another name follows it (a form, a connection string) or it closes what the value stands in.
my $stop    = qr/(?=[\s\],}):;"'\\]|$)/;
my $double  = qr/"(?:[^"\\]|\\.)*+(?:"|$)/;
my $escaped = qr/(?<esc>\\++)"(?:(?!(?<!\\)\k<esc>").)*+(?:\k<esc>"|$)/;
my $single  = qr/'(?:[^']|'')*+(?:'|$)/;
my $list    = qr/\[ *(?:(?:$double|$single) *,? *)++\]?/;
my $bare    = qr/(?!(?:true|false|null|nil|none)$stop|\[REDACTED\])(?:[^\s"'`;&},\\]|\\[^"']|,(?=[^\s"'])|["'`](?!$stop)|\}(?!$stop)|[&;](?!\s|$|[\w.-]{1,64}=))++/;
my $value   = qr/(?:$double|$escaped|$single|$list|$bare)/;
my $quote   = qr/(?:\\{0,8}["'])?/;
my $typed   = qr/(?:b(?=["'])|\(\*?string\)(?: ?\((?:len=|0x)\w+\))* ?(?="))?/;    # Python's and Go's

# What a line in lower case must have to be worth a look at all; nearly all have nothing of it.
my $suspect = qr/pass|pwd|secret|token|creds|credential|_key|-key|apikey|accesskey|privatekey|encryptionkey|certificatekey|signingkey|accountkey|sharedkey|keydata|masterauth|--auth|authorization|bearer |basic |digest |negotiate |hmac|cookie|eyj|ls0t|tls0| -u|"-u|'-u|-user|sig=|signature=|code=|-----|auth"|auth:|auth=|auth =|akia|gho_|ghp_|ghs_|ghr_|ghu_|glpat-|xox|hvs\.|pw:|pw=|pw"|psk|assertion|sessionid|slack\.com|\/bot|--from-literal|mysql|mariadb/;
# What a line must have for a name to have a value on it.
my $assigned = qr/(?:$literal|pass|pwd|pw|psk|_key)(?:s|[-_]?value|_hash)?\\{0,8}["']?(?: *[=>]| *: *\\{0,8}["'\[]|:[^ ]|: +[^\s"',]*\d)/;

# The beginning of a line as the kubelet's log files and journald write it.
my $prefix = qr/\A(?:\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-][\d:]+)[ ](?:(?:stdout|stderr)[ ][FP][ ]|\S+[ ]\S+:[ ]))?/;
my $marker = qr/[ ]*(?:-[ ]+)*/;              # indentation and list markers before a key
my $architecture = qr/(?:all|any|native|amd64|arm64|armhf|armel|i386|ppc64el|riscv64|s390x?|mips(?:64)?(?:el)?|loong(?:arch)?64|powerpc|ppc64|sparc64|x32)(?![\w-])/;    # dpkg: base-passwd:amd64
my $secret_key = qr/\A$marker["']?[\w.-]*+(?=["']?[ ]*:)(?:$ends|(?<![A-Za-z])(?:(?<=pass)|(?<=pwd)|(?<=pw)))["']?[ ]*:/;
my $path = qr/\/(?:etc|var|run|usr|opt|srv|tmp|root|home|proc|sys|dev|mnt|lib|data)(?:\/[\w.@+-]+)+\/?/;

# What the lines before have left open.
my $held;             # a line `value: …` and what followed it, {depth, lines: [[prefix, text], …]}, whose name may come
my $armed;            # a line `name: X_TOKEN` was there: its value may come, {depth, name, lines still to look at}
my $nest;             # below a key such as `secret:` that has no value of its own, {depth, first}
my %partial;          # a record that the container runtime split: stream => [prefix, text]
my $flag = '';        # a list item `--token` was just there
my $key_lines = 0;    # how many lines the private key that began may still have
my ($block, $data);   # the value of several lines, the Secret's data, that we are in: {depth => …}
my $is_secret;        # this object of YAML is a Secret; how deep its kind stands

# blanked VALUE: the same in its quotes, so that JSON and YAML stay what they are.
sub blanked {
    my ($text) = @_;
    my $mark = $text =~ /\A(\\*["'])/ ? $1 : '';
    return $mark . REDACTED . ($mark ne '' && substr($text, -length $mark) eq $mark ? $mark : '');
}

# is_harmless NAME VALUE: what such a name may have without telling a secret, and what a diagnosis needs.
sub is_harmless {
    my ($name, $value) = @_;
    return 0 if $value !~ /\A\\*["']?[\d\/tfn]/;
    return 1 if $name =~ /tokens?\z/i && $value =~ /\A\d{1,9}\z/;
    $value =~ s/\A\\{0,8}["']|\\{0,8}["']\z//g;
    return 1 if $value =~ /\A(?:true|false|null|$path)\z/;
    return $name !~ /pass|pwd|pw\z/i && $value =~ /\A(?:\d{1,4}|(?:\d+(?:\.\d+)?(?:ms|[smh]))+)\z/;
}

# is_secret_name NAME: the name of an environment variable or of an argument, whose value stands under another key.
sub is_secret_name {
    my ($name) = @_;
    return $name =~ $env_word && $name !~ $env_end || $name =~ /\A$short\z/;
}

# gone NAME VALUE: the value, without what it says if its name makes it secret.
sub gone {
    my ($name, $value) = @_;
    return is_harmless($name, $value) ? $value : blanked($value);
}

# has_long_word TEXT: perhaps 200 characters of base64 without a break: such a run holds one of the windows that are looked at.
sub has_long_word {
    my ($text) = @_;
    for (my $at = 0; $at + 40 <= length $text; $at += 160) {
        return 1 if substr($text, $at, 40) !~ /[^\w+\/-]/;
    }
    return 0;
}

# is_plain TEXT LOW: nothing in it can be secret, nor begin or end anything. LOW is TEXT in lower case.
sub is_plain {
    my ($text, $low) = @_;
    return 0 if $low =~ $suspect;
    return 0 if index($text, '@') >= 0 && $text =~ /:[^\s@]*\@/;
    return 0 if $text =~ /\.[a-z0-9]{16}/;
    return 0 if index($text, ':$') >= 0;
    return 0 if length($text) >= 60 && (length($text) < 100 ? is_key_line($text) : has_long_word($text));
    return $text !~ /\A\s*(?:- +)*["']?(?:---|kind|data|stringData|name|value)/;
}

# one_line TEXT LOW: what is secret on a single line.
sub one_line {
    my ($text, $low) = @_;
    # PEM inside base64, as kubeconfigs and Secrets carry it ("-----BEGIN" at its three possible offsets); JSON web tokens;
    # kubeadm's bootstrap tokens; whoever logs in by an address, and signatures in it.
    $text =~ s/(?:LS0tLS1CRUdJT|0tLS1CRUdJTi|tLS0tQkVHSU4)[A-Za-z0-9+\/=_-]*+/[REDACTED]/g if $low =~ /ls0t|tls0/;
    $text =~ s/\beyJ[\w-]{5,}+(?:\.[\w-]*+)++/[REDACTED]/g if index($text, 'eyJ') >= 0;
    $text =~ s/(?<![\w.])[a-z0-9]{6}\.[a-z0-9]{16}(?!\w)/[REDACTED]/g if $text =~ /\.[a-z0-9]{16}/;
    # Other encoded things of this length: no hash and no path is.
    $text =~ s/(?<![\w+\/=-])(?=[\w+\/-]{200})(?=[\w+\/-]*?[A-Z])([\w+\/-]++)={0,2}/($1 =~ tr!\/!!) * 10 > length $1 ? $& : REDACTED/ge if has_long_word($text);
    if (index($text, '@') >= 0) {
        $text =~ s/(:\/\/)[^\/\s"'<>]*\@/$1 . REDACTED . '@'/ge;
        $text =~ s/(:\/\/)[^\/\s"'<>:@,]++:(?!\d+[\/,?])(?:(?!:\/\/)[^\s"'<>@,])++\@/$1 . REDACTED . '@'/ge;
        $text =~ s/(?<![\w\/.@:-])([\w.-]++:)(?!\/\/|\d+\/)[^\s\/@"':]{3,}+\@(?=(?:tcp|udp|unix)\(|(?!sha\d)[\w.-]++:\d)/$1 . REDACTED . '@'/ge;
    }
    $text =~ s/([?&](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|code|key|auth|(?:[\w-]*+(?:(?<=token)|(?<=ecret)|(?<=sword)|(?<=i_key)|(?<=apikey))))=)(?!\d{1,3}(?!\w))[^&\s"'<>#]++/$1 . REDACTED/gie
        if $text =~ /[?&]/;
    $text =~ s/(hooks\.slack\.com\/(?:services|workflows)\/)[\w\/-]++/$1 . REDACTED/gie if index($low, 'slack.com') >= 0;
    $text =~ s/(\/bot\d+):[\w-]++/$1:[REDACTED]/g if index($low, '/bot') >= 0;
    $text =~ s/:\$(?:\d\w?|g?y|2[abxy])\$[\w.\/\$,=-]{8,}+/:[REDACTED]/g if index($text, ':$') >= 0;
    # Tokens that say themselves whose they are, and a registry's login.
    $text =~ s/\b(?:AKIA[0-9A-Z]{16}|gh[opsru]_\w{20,}+|glpat-[\w-]{16,}+|xox[abprs]-[\w-]{10,}+|hvs\.[\w-]{16,}+)/[REDACTED]/g
        if $low =~ /akia|gh[opsru]_|glpat-|xox[abprs]-|hvs\./;
    if ($low =~ /auth["']? *[:=]/ || $low =~ /auth\\/) {
        $text =~ s/(\bauth\\{0,8}" *: *|(?<![\w-])auth *= *(?=["']))(?!\\{0,8}["']?(?:true|false)\b)($double|$escaped|$single)/$1 . blanked($2)/ge;
        $text =~ s/((?<![\w-])auth(?: *= *|: +))(?=[^\s"']*[\d=])(?!\d+(?:\s|$)|$path)[\w.+\/=:-]{6,}+/$1 . REDACTED/gie;
    }
    # HTTP. "authorization: RBAC: …" is a sentence of the API server; schemes are followed by one word that no language has.
    if ($low =~ /bearer |basic |digest |negotiate |hmac/) {
        $text =~ s/(\b(?:bearer|basic|digest|negotiate|aws4-hmac-sha256)[ ]++)(?=(?-i:[^\s"',]*[0-9A-Z_~+\/=])|[^\s"',]{16})[\w.~+\/=-]{6,}+/$1 . REDACTED/gie;
    }
    if (index($low, 'authorization') >= 0) {
        $text =~ s/(\b(?:proxy-)?authorization$quote[ ]?[:=][ ]?\[?$quote(?:token[ ]++|[a-z-]*key[ ]++)?)(?!(?:bearer|basic|digest|negotiate|rbac)\b)(?:(?=[\w.~+\/=-]*\d)[\w.~+\/=-]{7,}+|(?<=[ ])[\w.~+\/=-]{16,}+)/$1 . REDACTED/gie;
    }
    $text =~ s/(\b(?:set-)?cookie$quote: *)[^"']++/$1 . REDACTED/gie if index($low, 'cookie') >= 0;
    # A user counts only when a password follows; numbers are a user's and a group's.
    if (index($text, '-u') >= 0 || index($text, '--auth') >= 0 || index($text, '--creds') >= 0) {
        $text =~ s/((?<![\w-])(?:-u|--(?:proxy-)?user|--auth|--creds)[ =]["']?)(?!\d+:\d+\b)([^\s:"']++:[^\s"']++)/$1 . REDACTED/ge;
    }
    $text =~ s/(-pass(?:in|out)?[ =]pass:|\bsshpass -p ?)($value)/$1 . blanked($2)/ge if $text =~ /-pass|sshpass/;
    $text =~ s/(\b(?:mysql|mariadb)[\w-]*+(?:[ ]++(?!-p)[^\s|;]++)*+[ ]++-p *)(?!-)($value)/$1 . blanked($2)/ge if index($text, ' -p') >= 0 && $low =~ /mysql|mariadb/;
    $text =~ s/(--from-literal$quote(?:[ =]|, ?)$quote[\w.-]++=)($bare)/$1 . REDACTED/ge if index($text, '--from-literal') >= 0;
    if (index($low, 'passw') >= 0) {
        $text =~ s/(\bhtpasswd[ ]++-\w*b\w*[ ]++\S++[ ]++\S++[ ]++)($value)/$1 . blanked($2)/ge;
        $text =~ s/(\becho[ ]++["']?[\w-]++:)[^\s"']++(?=["']? *\| *(?:sudo )?chpasswd)/$1 . REDACTED/ge if index($low, 'chpasswd') >= 0;
        $text =~ s/\A(\s*(?:machine|default|login|account)\b.*?\bpassword[ ]++|\s*password[ ]++(?=\S++\s*\z))(?![:=])\S++/$1 . REDACTED/e;
    }
    # A Secret as one line of JSON.
    $text =~ s/("(?:stringData|data)\\{0,8}" *: *\{)(?:[^{}"\\]|\\.|$double)*+/$1/g if index($text, 'Secret') >= 0 && $text =~ /"kind\\{0,8}" *: *\\{0,8}"Secret\\{0,8}"/;
    $text = flags($text) if $low =~ / -|["']-|\A-/;
    # {name: X_TOKEN, value: y}, in both orders, also as JSON.
    if (index($low, 'value') >= 0 && $low =~ /\bname\\{0,8}["']? *:/) {
        $text =~ s/(\bname$quote *: *$quote)([\w.-]++)($quote *, *(?:$quote(?!value)\w++$quote *: *(?:$double|[\w.\/-]++) *, *){0,3}+${quote}value$quote *: *)($value|[^,}]++)/$1 . $2 . $3 . (is_secret_name($2) ? gone($2, $4) : $4)/gie;
        $text =~ s/(\bvalue$quote *: *)($value)(?= *, *${quote}name$quote *: *$quote([\w.-]++))/$1 . (is_secret_name($4) ? gone($4, $2) : $2)/gie;
    }
    $text =~ s/((?<![\w-])(?:requirepass|masterauth)[ ]++)($value)/$1 . blanked($2)/gie if $low =~ /requirepass |masterauth /;
    $text = named($text, $low) if $low =~ $assigned;
    return index($text, ': ') >= 0 && $low =~ /(?:$literal|pass|pwd|pw|psk)s?["']? *: +[^\\"' ]/ ? with_words($text) : $text;
}

# flags TEXT: --name value, and ["--name","value"].
sub flags {
    my ($text) = @_;
    $text =~ s/((?<![\w-])--?[\w-]++(?=[ ,"'\\])(?:$ends|(?<=-auth)(?=["']?[ ,]+["']?[^\s"']*[:=\d]))(?:[ ]++|$quote *,[ ]*))(?!=|$quote(?:--[A-Za-z]|-[A-Za-z](?!\w))|\[[A-Za-z -]+\])($typed$value)/$1 . blanked($2)/gie;
    return $text;
}

# named TEXT LOW: values whose name says that they are secret.
sub named {
    my ($text, $low) = @_;
    # name=value, "name":"value", name:value; in a sentence only what looks like no word ("verify token: expired").
    $text =~ s/($word)($quote(?: *=|:(?! |[{]|\[\{|$architecture)| *:(?= *\\{0,8}["'])|:(?= +[^\s"',]*\d)(?= +[^\s"',]{6})) *)($typed$value)/$1 . $2 . gone($1, $3)/ge;
    $text =~ s/($short)($quote(?: *=|:(?! |[{]|\[\{|$architecture)| *:(?= *\\{0,8}["'])|:(?= +[^\s"',]*\d)(?= +[^\s"',]{6})) *)($typed$value)/$1 . $2 . gone($1, $3)/ge if $low =~ /(?:pass|pwd|pw|psk)\\{0,8}["']? *[:=]/;
    $text =~ s/(\b[A-Z0-9_]+_KEY)($quote(?: *=|: *) *)($value)/$1 . $2 . gone($1, $3)/ge if index($text, '_KEY') >= 0;
    $text =~ s/(<(?:\w+:)?[\w.-]++$ends>)[^<>]++/$1 . REDACTED/gie if index($text, '<') >= 0;
    return $text;
}

# key_and_value START VALUE: START is a key of YAML.
sub key_and_value {
    my ($start, $value) = @_;
    my ($name) = $start =~ /([\w.-]+)["']?[ ]*:/;
    return $start . (is_harmless($name, $value) ? $value : REDACTED);
}

# with_words TEXT: `name: several words`. As a key of YAML all that follows; in a sentence what follows "password".
sub with_words {
    my ($text) = @_;
    $text =~ s/($secret_key +(?:[&!][\w!]++ +)?)(?![>|"'&*]|[\[{]\s*$|\[REDACTED)(\S.*+)/key_and_value($1, $2)/e;
    $text =~ s/([{,("'] *+[\w.-]++(?=: )$ends: +)(?![\[{"'])([^,}"']++)/$1 . REDACTED/gie;
    $text =~ s/((?:passw(?:or)?d|passphrase): +)(?!["']?\[REDACTED)($bare)/$1 . REDACTED/gie if index($text, 'ass') >= 0;
    return $text;
}

# keys_gone TEXT: private keys; one that does not end on its line is gone on with on the next ones.
sub keys_gone {
    my ($text) = @_;
    # Only up to the last end: else each beginning without one would look through all the rest.
    if ($text =~ /\A(.*-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)(.*)\z/s) {
        my ($whole, $rest) = ($1, $2);
        $whole =~ s/-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----/[REDACTED]/g;
        $text = $whole . $rest;
    }
    $key_lines = KEY_LINES if $text =~ s/-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*/[REDACTED]/;
    return $text;
}

# is_key_line TEXT: nothing but base64 as in PEM. 64 hexadecimal digits are a hash, and stay.
sub is_key_line {
    my ($text) = @_;
    return $text =~ /\A[\s"'|>]*([A-Za-z0-9+\/]{60,76}+={0,2})[\s"',]*\z/ && $1 !~ /\A[0-9a-f]+\z/;
}

sub depth { return $_[0] =~ /\A($marker)/ ? length $1 : 0; }
sub indent { return $_[0] =~ /\A( *)/ ? length $1 : 0; }

# open_block TEXT REST: a value that goes on below: a block scalar, or quotes that do not end here.
sub open_block {
    my ($text, $rest) = @_;
    if ($rest =~ /\A[|>][-+0-9]*\s*(?:#.*)?\z/) {
        $block = { depth => depth($text), quote => '' };
    } elsif ($rest =~ /\A(["'])/) {
        my ($mark, $body) = ($1, substr $rest, 1);
        $body =~ s/\\.//g;
        $block = { depth => depth($text), quote => $mark } if index($body, $mark) < 0;
    }
}

# value_gone TEXT NAME: of a line `value: …`.
sub value_gone {
    my ($text, $name) = @_;
    my ($start, $rest) = $text =~ /\A($marker["']?\w+["']?\s*:\s*)(.*)\z/s or return $text;
    my $whole = $rest =~ /\A($value),?\s*\z/ ? $1 : '';
    return $text if $whole ne '' && is_harmless($name, $whole);
    open_block($text, $rest);
    return $start . blanked($whole) . ($rest =~ /,\s*\z/ ? ',' : '');
}

# in_block TEXT: TEXT belongs to a value that began above.
sub in_block {
    my ($text) = @_;
    return 1 if $text =~ /\A\s*\z/;
    if (indent($text) <= $block->{depth} || $block->{folded} && $text =~ /\A\s*- /) {
        $block = undef;
        return 0;
    }
    if ($block->{quote}) {
        (my $body = $text) =~ s/\\.//g;
        $block = undef if index($body, $block->{quote}) >= 0;
    }
    return 1;
}

# of_secret TEXT: a line below `data:` of a Secret, without its value. Its kind may come only after the data.
sub of_secret {
    my ($text) = @_;
    if ($text =~ /\A\s*\z/ || indent($text) <= $data->{depth}) {
        $data = undef;
        return;
    }
    return $text if $text =~ /\A\s*["']?[\w.-]+["']?:\s*\z/;
    my ($start, $rest) = $text =~ /\A(\s*["']?[\w.-]+["']?:\s+)(\S.*)\z/;
    if (!defined $start) {
        return $text =~ /\A(\s*)/ ? $1 . REDACTED : REDACTED if $data->{all};
        return;
    }
    return if !$data->{all} && !($rest =~ /\A["']?([A-Za-z0-9+\/]{8,}={0,2})["']?,?\s*\z/ && length($1) % 4 == 0 && $1 !~ /\A(?:[A-Z]?[a-z]+|\d+)\z/);
    open_block($text, $rest);
    return $start . REDACTED;
}

# in_nest TEXT: a line below `secret:` or `tokens: [`, without its value; undef when it is none. How a volume's Secret is
# named and mounted stays.
sub in_nest {
    my ($text) = @_;
    return $text if $text =~ /\A\s*(?:#.*)?\z/;
    my $first = delete $nest->{first};
    if (!($first && $text =~ /\A\s*["'][^"']*["'][\s,}\]]*\z/) && indent($text) <= $nest->{depth} && !(indent($text) == $nest->{indent} && $text =~ /\A\s*- /)) {
        $nest = undef;
        return;
    }
    return $text if $text =~ /\A\s*[\]}\[{,]+\s*\z/;
    my ($start, $key, $rest) = $text =~ /\A(\s*(?:- +)*["']?([\w.\/-]+)["']?\s*:(?:\s+|\z))(.*)\z/;
    if (!defined $start) {
        my ($before, $item, $after) = $text =~ /\A(\s*(?:- +)*)(.*?)([\s,\]}]*)\z/;
        open_block($text, $item);
        return $before . blanked($item =~ /\A($value)\z/ ? $1 : '') . $after;
    }
    return $text if $rest eq '' || $key =~ /\A(?:secretName|defaultMode|mode|optional|items|name|namespace|expirationSeconds|path|audience|kind)\z/ || $rest =~ /\A[\[{]\s*\z/;
    open_block($text, $rest);
    return $start . blanked($rest =~ /\A($value),?\s*\z/ ? $1 : '') . ($rest =~ /,\s*\z/ ? ',' : '');
}

# say_held NAME: the line `value: …` that waited for the name behind it, and the lines in between. With a secret NAME its
# value goes, also what of it is on the next lines.
sub say_held {
    my ($name) = @_;
    return if !$held;
    my ($first, @others) = @{ $held->{lines} };
    if ($name ne '') {
        my $said = value_gone($first->[1], $name);
        $block = undef;
        shift @others while $said ne $first->[1] && @others && ($others[0][1] !~ /\S/ || indent($others[0][1]) > $held->{depth});
        $first->[1] = $said;
    }
    print @$_, "\n" for $first, @others;
    $held = undef;
}

# several_lines TEXT: TEXT in the light of those before it; undef when nothing of it may be said.
sub several_lines {
    my ($text, $low) = @_;
    if ($key_lines) {
        $key_lines--;
        if ($text =~ s/\A.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----//) {
            $key_lines = 0;
            return if $text eq '';
        } elsif ($text =~ /\A[\s"'|>]*[A-Za-z0-9+\/=]*[\s"',]*\z/ || $text =~ /\A\s*(?:Proc-Type|DEK-Info|Version|Comment|Hash): /) {
            return;
        }    # else another's line in between; the key may go on after it
    }
    return if $block && in_block($text);
    if ($armed && $text =~ /\S/ && $text !~ /\A\s*#/) {
        if ($armed->{lines}-- < 1 || indent($text) < $armed->{depth} && !($armed->{depth} == depth($text) && $text !~ /\A\s*-/)) { $armed = undef; }
        elsif (depth($text) == $armed->{depth} && $text =~ /\A$marker["']?value["']?\s*:/i) {
            my $name = $armed->{name};
            $armed = undef;
            return value_gone($text, $name);
        }
    }
    if ($nest) {
        my $said = in_nest($text);
        return $said if defined $said;
    }
    if ($flag ne '') {
        my $user = $flag eq 'user';
        $flag = '';
        if ($text =~ /\A(\s*(?:- +["']?|["']))(?!--[A-Za-z]|-[A-Za-z]["']?,?\s*\z)(.*?)(["']?,?)\s*\z/ && (!$user || index($text, ':') > 0 || index($text, '=') > 0)) {
            my ($start, $item, $after) = ($1, $2, $3);
            return $text if $user && $item =~ /\A\d+:\d+\z/;
            open_block($text, $item) if $start !~ /["']/;
            $block->{depth} = indent($text) if $block;
            return $start . REDACTED . $after;
        }
    }
    $text = keys_gone($text) if index($text, '-----BEGIN') >= 0;
    return REDACTED if is_key_line($text);
    $is_secret = undef if $text =~ /\A---/;
    if ($text =~ /\A($marker["']?)kind["']?:\s*["']?(\w+)/) {
        if ($2 eq 'Secret') { $is_secret = length $1; }
        elsif (defined $is_secret && length $1 <= $is_secret) { $is_secret = undef; }
    }
    if ($data) {
        my $said = of_secret($text);
        return $said if defined $said;
    }
    if ($text =~ /\A$marker["']?(stringData|data)["']?:\s*\{?\s*\z/) {
        my $all = defined $is_secret || $1 eq 'stringData';
        $data = { depth => depth($text), all => $all };
    }
    if ($text =~ /\A$marker["']?name["']?\s*:\s*["']?([\w.-]++)["']?\s*,?\s*\z/i && is_secret_name($1)) {
        my ($name) = $text =~ /:\s*["']?([\w.-]++)/;
        $armed = { depth => depth($text), name => $name, lines => ENTRY };
    }
    $flag = 'user' if $text =~ /\A\s*(?:- +)?["']?(?:-u|--(?:proxy-)?user|--auth|--creds|--from-literal)["']?,?\s*\z/;
    if ($low =~ $env_word || $low =~ /pass|pwd|pw/) {
        $flag = 'secret' if $text =~ /\A\s*(?:- +)?["']?--?[\w-]*+(?=["']?,?\s*\z)$ends["']?,?\s*\z/;
        if ($text =~ /($secret_key\s*)((?:[|>"'].*)?)\z/s) {
            my $rest = $2;
            open_block($text, $rest);
            $nest = { depth => depth($text), indent => indent($text), first => 1 } if $rest eq '';
        } elsif ($text =~ /$secret_key\s*(?:[\[{]|[&!][\w!]+)\s*\z/) {
            $nest = { depth => depth($text), indent => indent($text), first => 1 };
        }
        # An argument's value that is folded onto the next lines.
        $block = { depth => indent($text), quote => '', folded => 1 } if $text =~ /\A\s*- +--?[\w-]++(?==)$ends=[^\s"']+\z/;
    }
    return one_line($text, $low);
}

# line_said LINE: prints it without its secrets.
sub line_said {
    my ($line) = @_;
    my ($before, $text) = ('', $line);
    if ($line =~ $prefix && $+[0]) { ($before, $text) = (substr($line, 0, $+[0]), substr $line, $+[0]); }
    # A line of a diff, so that its neighbours stand at the same depth; "- x" is an item of a list.
    my $change = $text =~ s/\A([+]|-(?!-| \S))/ / ? $1 : '';
    my $low  = lc $text;
    my $said = $text;
    if ($key_lines || $block || $data || $armed || $nest || $flag ne '' || !is_plain($text, $low)) {
        $said = several_lines($text, $low);
        return if !defined $said;
    }
    if ($change ne '') { $said =~ s/\A ?/$change/; }
    # A value may stand before its name: as the first key of a list's item, or with a comma behind it in JSON.
    if ($held && $armed && $armed->{depth} == $held->{depth} && $text !~ /\A\s*-/) { say_held($armed->{name}); $armed = undef; }
    if ($held && (indent($text) < $held->{depth} && $text =~ /\S/ || @{ $held->{lines} } > ENTRY)) { say_held(''); }
    if ($change eq '' && $said eq $text && $said =~ /\A(?:\s*- +["']?value["']?\s*:|\s*"value"\s*:.*,\s*\z)/) {
        say_held('');
        $held = { depth => depth($said), lines => [[$before, $said]] };
    } elsif ($held) { push @{ $held->{lines} }, [$before, $said]; }
    else { print $before, $said, "\n"; }
}

# partials_said: what a record's first parts said, when its last one does not come.
sub partials_said {
    my @parts = map { $partial{$_} } sort keys %partial;
    %partial = ();
    line_said("$_->[0]$_->[1]") for @parts;
}

while (my $line = <STDIN>) {
    chomp $line;
    # The container runtime splits a record after 16 KiB, be it in the middle of a secret: P for a part, F for the last one.
    if ((%partial || index($line, ' P ') >= 0) && $line =~ /\A(\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-][\d:]+) (stdout|stderr) )([FP]) /) {
        my ($before, $stream, $tag, $text) = ($1, $2, $3, substr $line, $+[0]);
        my $part = $partial{$stream} //= ["${before}F ", ''];
        $part->[1] .= $text if length $part->[1] < JOINED;
        next if $tag eq 'P';
        delete $partial{$stream};
        $line = "$part->[0]$part->[1]";
    } else {
        partials_said() if %partial;
        $line = substr($line, 0, LONGEST) . ' [cut]' if length $line > LONGEST;
    }
    line_said($line);
}
partials_said();
say_held('');
