{#
  Body of a quarantine model: one row per raw row and reason, with the raw record as JSON, from the parsed staging
  model and from what the file reader itself could not take. `columns` are the contract's columns of the raw table;
  `duplicates` is an optional relation (_delivery_id, _file, _row, reason) of rows refused as copies.
#}
{% macro quarantine(entity, parsed, columns, duplicates=none, duplicate_column=none) %}
with

found as (

    select
        _delivery_id,
        _file,
        _row,
        unnest(reasons) as finding
    from {{ parsed }}
    where reasons is not null

),

refused as (

    select
        _delivery_id,
        _file,
        _row,
        finding.column_name as column_name,
        finding.value as value,
        finding.reason as reason
    from found
    {% if duplicates is not none %}
    union all by name
    select
        _delivery_id,
        _file,
        _row,
        '{{ duplicate_column }}' as column_name,
        txn_id as value,
        reason
    from {{ duplicates }}
    {% endif %}

),

with_record as (

    select
        refused.*,
        to_json(struct_pack(
            {%- for c in columns %}
            {{ c }} := source.{{ c }}{{ ',' if not loop.last }}
            {%- endfor %}
        ))::varchar as raw_record
    from refused
    left join {{ source('raw', entity) }} as source
        on refused._delivery_id = source._delivery_id
        and refused._file = source._file
        and refused._row = source._row

),

unreadable as (

    select
        _delivery_id,
        _file,
        _row,
        column_name,
        value,
        reason,
        null::varchar as raw_record
    from {{ source('raw', 'rejects') }}
    where entity = '{{ entity }}'

),

final as (

    select
        '{{ entity }}' as entity,
        _file,
        column_name,
        value,
        reason,
        raw_record,
        cast(_row as bigint) as _row,
        cast(_delivery_id as integer) as _delivery_id,
        is_unreadable
    from (
        select *, false as is_unreadable from with_record
        union all by name
        select *, true as is_unreadable from unreadable
    )

)

select * from final
{% endmacro %}

{# Findings that were repaired, from one parsed model: one row per distinct value, so that a systematic fault stays small. #}
{% macro value_repairs(entity, parsed) %}
    select
        '{{ entity }}' as entity,
        _file,
        finding.column_name as column_name,
        finding.value as value,
        finding.reason as reason,
        count(*) as rows_count,
        min(cast(_row as bigint)) as first_row,
        cast(_delivery_id as integer) as _delivery_id
    from (
        select _delivery_id, _file, _row, unnest(repairs) as finding
        from {{ parsed }}
        where repairs is not null
    )
    group by all
{% endmacro %}
