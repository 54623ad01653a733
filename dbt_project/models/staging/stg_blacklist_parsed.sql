with

typed as (

    select
        _file,
        _row,
        _delivery_id,
        {{ clean_id('entity_id') }} as entity_id,
        {{ clean_text('entity_type') }} as entity_type,
        {{ clean_text('list_name') }} as list_name,
        {{ clean_text('reason') }} as listing_reason,
        {{ clean_text('listed_date') }} as date_text,
        {{ parse_date(clean_text('listed_date')) }} as parsed_date,
        cast(_known_floor as date) as _known_floor
    from {{ source('raw', 'blacklist') }}

),

judged as (

    select
        *,
        -- an entry without a date is taken as listed always; one that comes later cannot have been known before
        greatest(coalesce(parsed_date, date '1900-01-01'), _known_floor) as listed_date,
        {{ findings([
            ["entity_id is null", "entity_id", "null::varchar", "missing_entity_id"],
            ["date_text is not null and parsed_date is null", "listed_date", "date_text", "unparsable_listed_date"],
        ]) }} as own_reasons
    from typed

),

ranked as (

    select
        *,
        row_number() over (
            partition by entity_id, entity_type, list_name, parsed_date
            order by own_reasons is not null, _delivery_id, _file, _row
        ) as copy_number
    from judged

),

final as (

    select
        entity_id,
        entity_type,
        list_name,
        listing_reason,
        listed_date,
        case
            when own_reasons is null and copy_number > 1
                then [{{ finding('listed_date', 'date_text', 'duplicate_entry_identical') }}]
            else own_reasons
        end as reasons,
        _file,
        _row,
        _delivery_id
    from ranked

)

select * from final
