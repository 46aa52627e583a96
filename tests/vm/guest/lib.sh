# shellcheck shell=dash
# What guest.sh uses to report: `. /lib.sh`. Output of other commands must not reach stdout, which is the result channel.

ok() { echo "ok $1"; }

# not_ok NAME REASON
not_ok() { echo "not ok $1: $2"; }

# skip NAME REASON
skip() { echo "skip $1: $2"; }

# A line of the test's table or another fact worth showing; not counted.
note() { echo "# $*"; }

# same NAME EXPECTED FOUND
same() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected '$2', found '$3'"; fi
}

# succeeds NAME COMMAND...: its output is the reason when it fails.
succeeds() {
    name=$1
    shift
    if output=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$(echo "$output" | tr '\n' ' ')"; fi
}

# fails NAME TEXT COMMAND...: it must fail, and TEXT must be in its output.
fails() {
    name=$1 text=$2
    shift 2
    if output=$("$@" 2>&1); then
        not_ok "$name" "succeeded: $(echo "$output" | tr '\n' ' ')"
    else
        case $output in
        *"$text"*) ok "$name" ;;
        *) not_ok "$name" "expected '$text', found '$(echo "$output" | tr '\n' ' ')'" ;;
        esac
    fi
}
