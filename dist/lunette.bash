# bash completion for lunette. A unit test holds it against the flag tables.

_lunette_flags()
{
	case $1 in
	tls)
		echo --domain --url --listen --balance --terminate-at \
			--cidr-allow --cidr-deny --policy-file --proxy-proto \
			--proxy-tlvs --events --metadata --log --log-format \
			--log-level --help
		;;
	edge | check)
		echo --config --help
		;;
	policy)
		echo --path --help
		;;
	*)
		echo --help
		;;
	esac
}

_lunette_values()
{
	case $1 in
	--balance) echo round_robin least_connections random_two hash ;;
	--terminate-at) echo upstream ;;
	--proxy-proto) echo 1 2 ;;
	--proxy-tlvs) echo authority alpn unique_id crc32c ;;
	--log-format) echo term logfmt json ;;
	--log-level) echo debug info warn error ;;
	esac
}

_lunette()
{
	local word=${COMP_WORDS[COMP_CWORD]}
	local before=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]:-} words

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		words="tls edge check policy version --help"
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = policy ]; then
		words="check test"
	else
		words=$(_lunette_values "$before")
	fi
	if [ -z "$words" ]; then
		case $before in
		--policy-file | --events | --log | --config | -c | --path)
			compopt -o default
			return
			;;
		esac
		case $word in
		-*) words=$(_lunette_flags "$command") ;;
		*)
			compopt -o default
			return
			;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _lunette lunette
