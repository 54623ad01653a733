with

typed as (

    select
        _file,
        _row,
        _delivery_id,
        {{ clean_id('alert_id') }} as alert_id,
        {{ clean_id('client_id') }} as client_id,
        lower({{ clean_text('outcome') }}) as outcome,
        {{ clean_text('decided_by') }} as decided_by,
        {{ clean_text('decided_at') }} as decided_text,
        {{ parse_timestamp(clean_text('decided_at')) }} as decided_at
    from {{ source('raw', 'dispositions') }}

),

judged as (

    select
        *,
        {{ findings([
            ["alert_id is null", "alert_id", "null::varchar", "missing_alert_id"],
            ["outcome is null", "outcome", "null::varchar", "missing_outcome"],
            ["decided_text is null", "decided_at", "decided_text", "missing_decided_at"],
            ["decided_text is not null and decided_at is null", "decided_at", "decided_text",
                "unparsable_decided_at"],
        ]) }} as own_reasons
    from typed

),

ranked as (

    select
        *,
        row_number() over by_decision as copy_number,
        first_value(row(client_id, outcome, decided_by)) over by_decision as kept_values
    from judged
    window by_decision as (
        partition by alert_id, decided_at order by own_reasons is not null, _delivery_id, _file, _row
    )

),

final as (

    select
        alert_id,
        client_id,
        outcome,
        decided_by,
        decided_at,
        case
            when own_reasons is null and copy_number > 1
                and row(client_id, outcome, decided_by) is not distinct from kept_values
                then [{{ finding('alert_id', 'alert_id', 'duplicate_decision_identical') }}]
            when own_reasons is null and copy_number > 1
                then [{{ finding('alert_id', 'alert_id', 'duplicate_decision_conflicting') }}]
            else own_reasons
        end as reasons,
        _file,
        _row,
        _delivery_id
    from ranked

)

select * from final
