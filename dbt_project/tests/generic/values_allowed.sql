{# Values of columns: keys that no two rows share, never null, between two ends (both included), one of a list, a Monday; null passes all but the first two. One scan of a table for its rules on single columns and one of its keys; a failing row is a broken rule. #}
{% test values_allowed(model, keys=[], never_null=[], between=[], one_of={}, mondays=[]) %}
{%- for key in keys if key is string -%}
    {#- its letters would be taken for columns -#}
    {{ exceptions.raise_compiler_error('keys takes lists of columns, not ' ~ key) }}
{%- endfor -%}
{%- set rules = [] -%}
{%- for range in between -%}
    {%- set low, high = range.get('minimum'), range.get('maximum') -%}
    {#- a misspelt end must not turn into a rule that nothing can break -#}
    {%- if range.keys() | reject('in', ['columns', 'minimum', 'maximum']) | list or (low is none and high is none) -%}
        {{ exceptions.raise_compiler_error('between takes columns and minimum, maximum or both, not ' ~ range) }}
    {%- endif -%}
    {%- for column in range['columns'] -%}
        {%- if high is none -%}
            {%- do rules.append({'column': column, 'words': 'at least ' ~ low, 'broken': column ~ ' < ' ~ low}) -%}
        {%- elif low is none -%}
            {%- do rules.append({'column': column, 'words': 'at most ' ~ high, 'broken': column ~ ' > ' ~ high}) -%}
        {%- else -%}
            {%- set broken = column ~ ' < ' ~ low ~ ' or ' ~ column ~ ' > ' ~ high -%}
            {%- do rules.append({'column': column, 'words': 'from ' ~ low ~ ' to ' ~ high, 'broken': broken}) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endfor -%}
{%- for column, values in one_of.items() -%}
    {%- set literals = [] -%}
    {%- for value in values -%}
        {%- do literals.append("'" ~ value | string | replace("'", "''") ~ "'") -%}
    {%- endfor -%}
    {%- set broken = column ~ ' not in (' ~ literals | join(', ') ~ ')' -%}
    {%- do rules.append({'column': column, 'words': 'one of ' ~ values | join(', '), 'broken': broken}) -%}
{%- endfor -%}
{%- for column in mondays -%}
    {%- do rules.append({'column': column, 'words': 'a Monday', 'broken': 'isodow(' ~ column ~ ') <> 1'}) -%}
{%- endfor -%}
with

counted as (

    select
        {%- for column in never_null %}
        count(*) - count({{ column }}) as nulls_{{ loop.index }},
        {%- endfor %}
        {%- for rule in rules %}
        {#- null breaks none of these rules, so that a value that breaks one is there to be counted #}
        count(case when {{ rule['broken'] }} then {{ rule['column'] }} end) as rows_{{ loop.index }},
        min(case when {{ rule['broken'] }} then {{ rule['column'] }} end)::varchar as example_{{ loop.index }},
        {%- endfor %}
    from {{ model }}

),
{%- for key in keys %}

{#- hashes first, so that a large table costs one narrow scan #}
repeated_{{ loop.index }} as (

    select
        {{ key | join(', ') }},
        count(*) as rows_count
    from {{ model }}
    where hash({{ key | join(', ') }}) in (
        select hash({{ key | join(', ') }})
        from {{ model }}
        group by all
        having count(*) > 1
    )
    group by {{ key | join(', ') }}
    having count(*) > 1

),
{%- endfor %}

found as (

    select
        unnest(
            [
                {%- for column in never_null %}
                {
                    column_name: '{{ column }}',
                    rule: 'never null',
                    rows_count: nulls_{{ loop.index }},
                    example: null::varchar
                },
                {%- endfor %}
                {%- for rule in rules %}
                {
                    column_name: '{{ rule['column'] }}',
                    rule: '{{ rule['words'] | replace("'", "''") }}',
                    rows_count: rows_{{ loop.index }},
                    example: example_{{ loop.index }}
                },
                {%- endfor %}
            ],
            recursive := true
        )
    from counted
    {%- for key in keys %}
    {%- set parts = [] %}
    {%- for column in key %}
        {%- do parts.append("coalesce(" ~ column ~ "::varchar, 'null')") -%}
    {%- endfor %}
    union all
    select
        '{{ key | join(', ') }}' as column_name,
        'no two rows alike' as rule,
        sum(rows_count) as rows_count,
        min(concat_ws(', ', {{ parts | join(', ') }})) as example
    from repeated_{{ loop.index }}
    {%- endfor %}

)

select
    column_name,
    rule,
    rows_count,
    example
from found
where rows_count > 0
{% endtest %}
